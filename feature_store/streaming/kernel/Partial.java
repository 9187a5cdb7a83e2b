package featurestore;

/**
 * What an aggregate function knows about some rows: of a tile, of a block of tiles, of a window. Rows are added,
 * partials are merged, nothing is ever subtracted, so that floats do not drift. A new one is of no rows.
 */
abstract class Partial {
    /** Takes in a row's value; the caller leaves out NULLs. The weight is null but for top_k by a column. */
    abstract void add(long at, Object value, Object weight);

    /** Takes in the rows of another partial of the same measure, which stays as it is. */
    abstract void merge(Partial other);

    /** Times are written relative to an origin, which makes them short. */
    abstract void write(ByteWriter out, long origin);

    /** Becomes what was written; what it knew before is gone. */
    abstract void read(ByteReader in, long origin);

    /** Long, Double, Boolean, {@link Text}, an Object[] of one of them, or null for NULL. */
    abstract Object result();

    /** One for the measure of this index. */
    static Partial of(Spec spec, int index) {
        Spec.Measure measure = spec.measures[index];
        return switch (measure.function()) {
            case "count" -> new NumberPartials.Count();
            case "sum" -> measure.type() == ValueType.INT
                    ? new NumberPartials.IntSum()
                    : new NumberPartials.FloatSum();
            case "mean" -> new NumberPartials.Mean();
            case "stddev" -> new NumberPartials.Spread(true);
            case "variance" -> new NumberPartials.Spread(false);
            case "percentile" -> new SortedNumbers(measure.share());
            case "approx_count_distinct" -> new LeastHashes();
            case "min" -> new ValuePartials.Extreme(measure.type(), -1);
            case "max" -> new ValuePartials.Extreme(measure.type(), 1);
            case "count_distinct" -> new ValuePartials.Distinct(measure.type(), false);
            case "collect_set" -> new ValuePartials.Distinct(measure.type(), true);
            case "top_k" -> new ValuePartials.Top(measure);
            case "first" -> new DatedPartials.One(measure.type(), -1);
            case "last" -> new DatedPartials.One(measure.type(), 1);
            case "first_n" -> new DatedPartials.Some(measure.type(), -1, measure.limit());
            case "last_n" -> new DatedPartials.Some(measure.type(), 1, measure.limit());
            default -> throw new IllegalArgumentException("the kernel has no function " + measure.function());
        };
    }

    /** NULL for NaN and infinities, and one zero instead of two. */
    static Double finite(double value) {
        return Double.isFinite(value) ? Double.valueOf(value + 0.0) : null;
    }

    /** Values of one type, both not null. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    static int compare(Object left, Object right) {
        return ((Comparable) left).compareTo(right);
    }
}
