package featurestore;

import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.InputGroup;
import org.apache.flink.table.functions.ScalarFunction;

/** The canonical order of rows in SQL: see {@link Canonical}. */
public class CanonicalOrder extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public byte[] eval(@DataTypeHint(inputGroup = InputGroup.ANY) Object... values) {
        return Canonical.of(values);
    }
}
