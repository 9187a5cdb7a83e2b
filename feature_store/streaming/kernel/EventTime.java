package featurestore;

import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;

/** The time of a message, down to the millisecond; NULL for one that is neither an event nor a heartbeat. */
public class EventTime extends ScalarFunction {
    private static final long serialVersionUID = 1L;

    public TimestampData eval(byte[] payload, StringData spec) {
        ParsedEvent event = ParsedMessages.ofThread().parse(payload, spec);
        return event.tellsTime() ? TimestampData.fromEpochMillis(Math.floorDiv(event.at(), 1000L)) : null;
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        return TypeInference.newBuilder()
                .staticArguments(
                        StaticArgument.scalar("payload", DataTypes.BYTES(), false),
                        StaticArgument.scalar("spec", DataTypes.STRING().notNull().bridgedTo(StringData.class), false))
                .outputTypeStrategy(
                        TypeStrategies.explicit(DataTypes.TIMESTAMP_LTZ(3).bridgedTo(TimestampData.class)))
                .build();
    }
}
