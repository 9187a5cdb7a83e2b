package featurestore;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.utils.DataTypeUtils;

/**
 * A message as a row: `at` (microseconds), `problem` (NULL for an event), and the columns of the source, each with c_
 * before its name. The second argument says how to read it: the literal JSON text of a {@link ParserSpec}.
 */
public class ParseEvent extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    private transient ParsedEvent event;
    private transient RowData row;

    public RowData eval(byte[] payload, StringData spec) {
        ParsedEvent parsed = ParsedMessages.ofThread().parse(payload, spec);
        if (parsed != event) {
            event = parsed;
            row = rowOf(parsed);
        }
        return row;
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        return TypeInference.newBuilder()
                .staticArguments(
                        StaticArgument.scalar("payload", DataTypes.BYTES(), false),
                        StaticArgument.scalar("spec", DataTypes.STRING().notNull().bridgedTo(StringData.class), false))
                .outputTypeStrategy(ParseEvent::typeOf)
                .build();
    }

    private static Optional<DataType> typeOf(CallContext call) {
        Optional<String> text = call.getArgumentValue(1, String.class);
        if (text.isEmpty()) {
            return call.fail(true, "The spec must be a literal.");
        }
        ParserSpec spec = ParserSpec.parse(text.get());
        List<DataTypes.Field> fields = new ArrayList<>();
        fields.add(DataTypes.FIELD("at", DataTypes.BIGINT()));
        fields.add(DataTypes.FIELD("problem", DataTypes.STRING()));
        for (int i = 0; i < spec.names.length; i++) {
            fields.add(DataTypes.FIELD("c_" + spec.names[i], FlinkTypes.of(spec.types[i])));
        }
        return Optional.of(DataTypeUtils.toInternalDataType(DataTypes.ROW(fields.toArray(new DataTypes.Field[0]))));
    }

    private static RowData rowOf(ParsedEvent event) {
        Object[] values = event.values();
        GenericRowData row = new GenericRowData(values.length + 2);
        row.setField(0, event.at());
        row.setField(1, StringData.fromString(event.problem()));
        for (int i = 0; i < values.length; i++) {
            Object value = values[i];
            row.setField(i + 2, value instanceof String ? StringData.fromString((String) value) : value);
        }
        return row;
    }
}
