package featurestore;

import org.apache.flink.table.functions.ScalarFunction;

/** Negation of an INT; of the smallest one it does not fit 64 bits, which is an error of the run. */
public class NegateExact extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Long eval(Long value) {
        if (value == null) {
            return null;
        }
        if (value == Long.MIN_VALUE) {
            throw new ArithmeticException("-(" + value + ") does not fit 64 bits");
        }
        return -value;
    }
}
