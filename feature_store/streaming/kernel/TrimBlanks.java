package featurestore;

import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.ScalarFunction;

/** A text without the blanks (U+0020, nothing else) at its ends. */
public class TrimBlanks extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    @DataTypeHint(value = "STRING", bridgedTo = StringData.class)
    public StringData eval(@DataTypeHint(value = "STRING", bridgedTo = StringData.class) StringData text) {
        if (text == null) {
            return null;
        }
        byte[] bytes = text.toBytes();
        int start = 0;
        int end = bytes.length;
        while (start < end && bytes[start] == ' ') {
            start++;
        }
        while (end > start && bytes[end - 1] == ' ') {
            end--;
        }
        return StringData.fromBytes(bytes, start, end - start);
    }
}
