package featurestore;

import org.apache.flink.table.functions.ScalarFunction;

/** Sum of two INTs; NULL if it does not fit 64 bits. */
public class AddExact extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Long eval(Long left, Long right) {
        if (left == null || right == null) {
            return null;
        }
        try {
            return Math.addExact(left, right);
        } catch (ArithmeticException overflow) {
            return null;
        }
    }
}
