package featurestore;

import org.apache.flink.table.functions.ScalarFunction;

/** A number, or NULL for NaN and infinities; one zero instead of two. */
public class Finite extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Double eval(Double value) {
        return value == null ? null : Partial.finite(value);
    }
}
