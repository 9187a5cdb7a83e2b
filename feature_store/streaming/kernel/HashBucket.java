package featurestore;

import java.util.zip.CRC32;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.ScalarFunction;

/** The CRC32 of a text's UTF-8 bytes, modulo a number of buckets. */
public class HashBucket extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public Long eval(@DataTypeHint(value = "STRING", bridgedTo = StringData.class) StringData text, Long buckets) {
        if (text == null || buckets == null) {
            return null;
        }
        CRC32 hash = new CRC32();
        hash.update(text.toBytes());
        return hash.getValue() % buckets;
    }
}
