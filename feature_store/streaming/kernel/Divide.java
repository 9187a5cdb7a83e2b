package featurestore;

import org.apache.flink.table.functions.ScalarFunction;

/**
 * Quotient of two FLOATs; NULL by zero.
 *
 * <p>A function, because Flink's planner cannot fold its own division of a constant by a constant that is computed.
 */
public class Divide extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Double eval(Double left, Double right) {
        return left == null || right == null || right == 0.0 ? null : left / right;
    }
}
