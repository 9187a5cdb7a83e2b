package featurestore;

import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.DataType;

/** The types of values in Flink, between the parser and the sinks: instants are microseconds in a BIGINT. */
final class FlinkTypes {
    private FlinkTypes() {}

    static DataType of(ValueType type) {
        return switch (type) {
            case INT, TIMESTAMP -> DataTypes.BIGINT();
            case FLOAT -> DataTypes.DOUBLE();
            case STRING -> DataTypes.STRING();
            case BOOL -> DataTypes.BOOLEAN();
        };
    }

    /** The type of a feature. */
    static DataType of(Spec.Measure measure) {
        DataType item = of(measure.resultType());
        return measure.givesList() ? DataTypes.ARRAY(item) : item;
    }

    /** A value of the kernel as Flink's runtime has it. */
    static Object internal(Object value) {
        if (value instanceof Text) {
            return StringData.fromBytes(((Text) value).bytes());
        }
        if (value instanceof Object[]) {
            Object[] items = ((Object[]) value).clone();
            for (int i = 0; i < items.length; i++) {
                items[i] = internal(items[i]);
            }
            return new GenericArrayData(items);
        }
        return value;
    }
}
