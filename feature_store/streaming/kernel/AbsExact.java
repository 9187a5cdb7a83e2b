package featurestore;

import org.apache.flink.table.functions.ScalarFunction;

/** Absolute value of an INT; NULL for the smallest one, whose absolute value does not fit 64 bits. */
public class AbsExact extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Long eval(Long value) {
        return value == null || value == Long.MIN_VALUE ? null : Long.valueOf(Math.abs(value));
    }
}
