package featurestore;

import org.apache.flink.table.functions.ScalarFunction;

/** Difference of two INTs; NULL if it does not fit 64 bits. */
public class SubtractExact extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Long eval(Long left, Long right) {
        if (left == null || right == null) {
            return null;
        }
        try {
            return Math.subtractExact(left, right);
        } catch (ArithmeticException overflow) {
            return null;
        }
    }
}
