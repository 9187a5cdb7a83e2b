package featurestore;

import org.apache.flink.table.functions.ScalarFunction;

/** Difference of two INTs; one that does not fit 64 bits is an error of the run. */
public class SubtractExact extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Long eval(Long left, Long right) {
        if (left == null || right == null) {
            return null;
        }
        try {
            return Math.subtractExact(left, right);
        } catch (ArithmeticException overflow) {
            throw new ArithmeticException(left + " - " + right + " does not fit 64 bits");
        }
    }
}
