package featurestore;

import java.util.ArrayList;
import java.util.List;

/**
 * Partials that keep the earliest (sign -1) or the latest values (sign 1); simultaneous ones in the order of values.
 */
final class DatedPartials {
    private DatedPartials() {}

    /**
     * Whether the first of two dated values goes before the second one: it is earlier or smaller, or for sign 1 later
     * or greater.
     */
    private static boolean precedes(int sign, long at, Object value, long otherAt, Object other) {
        int order = Long.compare(at, otherAt);
        return sign * (order != 0 ? order : Partial.compare(value, other)) > 0;
    }

    static final class One extends Partial {
        private final ValueType type;
        private final int sign;
        private long at;
        private Object value;

        One(ValueType type, int sign) {
            this.type = type;
            this.sign = sign;
        }

        @Override
        void add(long when, Object other, Object weight) {
            if (value == null || precedes(sign, when, other, at, value)) {
                at = when;
                value = other;
            }
        }

        @Override
        void merge(Partial other) {
            if (((One) other).value != null) {
                add(((One) other).at, ((One) other).value, null);
            }
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.flag(value != null);
            if (value != null) {
                out.signed(at - origin);
                out.value(type, value);
            }
        }

        @Override
        void read(ByteReader in, long origin) {
            boolean known = in.flag();
            at = known ? in.signed() + origin : 0;
            value = known ? in.value(type) : null;
        }

        @Override
        Object result() {
            return value;
        }
    }

    static final class Some extends Partial {
        private final ValueType type;
        private final int sign;
        private final int limit;
        private final List<Long> times = new ArrayList<>();
        private final List<Object> values = new ArrayList<>();

        Some(ValueType type, int sign, int limit) {
            this.type = type;
            this.sign = sign;
            this.limit = limit;
        }

        @Override
        void add(long at, Object value, Object weight) {
            int place = values.size();
            while (place > 0 && precedes(sign, at, value, times.get(place - 1), values.get(place - 1))) {
                place--;
            }
            if (place < limit) {
                times.add(place, at);
                values.add(place, value);
                if (values.size() > limit) {
                    times.remove(limit);
                    values.remove(limit);
                }
            }
        }

        @Override
        void merge(Partial other) {
            Some that = (Some) other;
            for (int i = 0; i < that.values.size(); i++) {
                add(that.times.get(i), that.values.get(i), null);
            }
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.unsigned(values.size());
            for (int i = 0; i < values.size(); i++) {
                out.signed(times.get(i) - origin);
                out.value(type, values.get(i));
            }
        }

        @Override
        void read(ByteReader in, long origin) {
            times.clear();
            values.clear();
            for (long left = in.unsigned(); left > 0; left--) {
                times.add(in.signed() + origin);
                values.add(in.value(type));
            }
        }

        @Override
        Object result() {
            return values.isEmpty() ? null : values.toArray();
        }
    }
}
