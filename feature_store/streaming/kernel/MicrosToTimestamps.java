package featurestore;

import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.functions.ScalarFunction;

/** A list of microseconds since the epoch as a list of instants. */
public class MicrosToTimestamps extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    @DataTypeHint(value = "ARRAY<TIMESTAMP_LTZ(6)>", bridgedTo = ArrayData.class)
    public ArrayData eval(@DataTypeHint(value = "ARRAY<BIGINT>", bridgedTo = ArrayData.class) ArrayData micros) {
        if (micros == null) {
            return null;
        }
        Object[] instants = new Object[micros.size()];
        for (int i = 0; i < instants.length; i++) {
            instants[i] = micros.isNullAt(i) ? null : MicrosToTimestamp.instant(micros.getLong(i));
        }
        return new GenericArrayData(instants);
    }
}
