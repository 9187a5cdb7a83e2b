package featurestore;

import org.apache.flink.table.functions.ScalarFunction;

/** Absolute value of an INT; of the smallest one it does not fit 64 bits, which is an error of the run. */
public class AbsExact extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Long eval(Long value) {
        if (value == null) {
            return null;
        }
        if (value == Long.MIN_VALUE) {
            throw new ArithmeticException("-(" + value + ") does not fit 64 bits");
        }
        return Math.abs(value);
    }
}
