package featurestore;

/** Partials whose size does not depend on the number of rows. */
final class NumberPartials {
    private NumberPartials() {}

    static final class Count extends Partial {
        private long rows;

        @Override
        void add(long at, Object value, Object weight) {
            rows++;
        }

        @Override
        void merge(Partial other) {
            rows += ((Count) other).rows;
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.unsigned(rows);
        }

        @Override
        void read(ByteReader in, long origin) {
            rows = in.unsigned();
        }

        @Override
        Object result() {
            return rows;
        }
    }

    /** NULL where the sum of all rows does not fit an INT; that of some of them may be greater. */
    static final class IntSum extends Partial {
        private Int128 sum = Int128.ZERO;

        @Override
        void add(long at, Object value, Object weight) {
            sum = sum.plus((Long) value);
        }

        @Override
        void merge(Partial other) {
            sum = sum.plus(((IntSum) other).sum);
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.wide(sum);
        }

        @Override
        void read(ByteReader in, long origin) {
            sum = in.wide();
        }

        @Override
        Object result() {
            return sum.toInt();
        }
    }

    static final class FloatSum extends Partial {
        private double sum;

        @Override
        void add(long at, Object value, Object weight) {
            sum += (Double) value;
        }

        @Override
        void merge(Partial other) {
            sum += ((FloatSum) other).sum;
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.real(sum);
        }

        @Override
        void read(ByteReader in, long origin) {
            sum = in.real();
        }

        @Override
        Object result() {
            return finite(sum);
        }
    }

    static final class Mean extends Partial {
        private long rows;
        private double sum;

        @Override
        void add(long at, Object value, Object weight) {
            rows++;
            sum += ((Number) value).doubleValue();
        }

        @Override
        void merge(Partial other) {
            rows += ((Mean) other).rows;
            sum += ((Mean) other).sum;
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.unsigned(rows);
            if (rows > 0) {
                out.real(sum);
            }
        }

        @Override
        void read(ByteReader in, long origin) {
            rows = in.unsigned();
            sum = rows > 0 ? in.real() : 0;
        }

        @Override
        Object result() {
            return rows > 0 ? finite(sum / rows) : null;
        }
    }

    /**
     * Number, mean and sum of squared distances to it, merged as Chan, Golub and LeVeque do: a sum of squares cancels.
     */
    static final class Spread extends Partial {
        private final boolean root;
        private long rows;
        private double mean;
        private double squares;

        /** Of the sample the standard deviation, which is the root, or the variance. */
        Spread(boolean root) {
            this.root = root;
        }

        @Override
        void add(long at, Object value, Object weight) {
            double number = ((Number) value).doubleValue();
            rows++;
            double distance = number - mean;
            mean += distance / rows;
            squares += distance * (number - mean);
        }

        @Override
        void merge(Partial other) {
            Spread that = (Spread) other;
            if (that.rows == 0) {
                return;
            }
            double all = (double) rows + that.rows;
            double distance = that.mean - mean;
            mean = rows == 0 ? that.mean : mean + distance * (that.rows / all);
            squares += that.squares + distance * distance * (rows * (that.rows / all));
            rows += that.rows;
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.unsigned(rows);
            if (rows > 0) {
                out.real(mean);
                out.real(squares);
            }
        }

        @Override
        void read(ByteReader in, long origin) {
            rows = in.unsigned();
            mean = rows > 0 ? in.real() : 0;
            squares = rows > 0 ? in.real() : 0;
        }

        @Override
        Object result() {
            if (rows < 2) {
                return null;
            }
            double variance = squares / (rows - 1);
            return finite(root ? Math.sqrt(variance) : variance);
        }
    }
}
