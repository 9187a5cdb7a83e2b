package featurestore;

import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.ScalarFunction;

/** An instant as microseconds since the epoch. */
public class TimestampToMicros extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Long eval(@DataTypeHint(value = "TIMESTAMP_LTZ(6)", bridgedTo = TimestampData.class) TimestampData instant) {
        return instant == null ? null : instant.getMillisecond() * 1000 + instant.getNanoOfMillisecond() / 1000;
    }
}
