package featurestore;

import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.ScalarFunction;

/** Microseconds since the epoch as an instant. */
public class MicrosToTimestamp extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    @DataTypeHint(value = "TIMESTAMP_LTZ(6)", bridgedTo = TimestampData.class)
    public TimestampData eval(Long micros) {
        return micros == null ? null : instant(micros);
    }

    static TimestampData instant(long micros) {
        return TimestampData.fromEpochMillis(
                Math.floorDiv(micros, 1000L), (int) Math.floorMod(micros, 1000L) * 1000);
    }
}
