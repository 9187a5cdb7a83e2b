package featurestore;

import org.apache.flink.table.functions.ScalarFunction;

/** Negation of an INT; NULL for the smallest one, whose negation does not fit 64 bits. */
public class NegateExact extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Long eval(Long value) {
        return value == null || value == Long.MIN_VALUE ? null : Long.valueOf(-value);
    }
}
