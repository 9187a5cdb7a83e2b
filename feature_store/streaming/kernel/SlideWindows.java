package featurestore;

import java.util.ArrayList;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.dataview.MapView;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.FunctionDefinition;
import org.apache.flink.table.functions.ProcessTableFunction;
import org.apache.flink.table.functions.SpecializedFunction;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.ArgumentCount;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.ConstantArgumentCount;
import org.apache.flink.table.types.inference.InputTypeStrategy;
import org.apache.flink.table.types.inference.Signature;
import org.apache.flink.table.types.inference.StateTypeStrategy;
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.StaticArgumentTrait;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;
import org.apache.flink.table.types.utils.DataTypeUtils;

/**
 * The window kernel in Flink SQL.
 *
 * <pre>
 * SlideWindows(`in` => TABLE events PARTITION BY (k0), spec => '{…}', uid => 'windows')
 * </pre>
 *
 * <p>Without on_time: given one, Flink drops rows behind the watermark before this function sees them. It needs no
 * more than the watermark, and that passes through any input.
 *
 * <p>The table's columns, found by their names: `at` BIGINT (event time in microseconds), `id` STRING, canonical BYTES
 * (what simultaneous copies are ordered by), kafka_partition INT, kafka_offset BIGINT, payload STRING, the spec's
 * conditions p0, p1, … BOOLEAN, its values v0, v1, …. The result: `problem` (NULL in a row of the group), feature_us,
 * created_us; of an event that came too late kafka_partition, kafka_offset, payload, event_us; the features f0, f1, ….
 *
 * <p>Rows are in Flink's internal form from end to end: the planner makes a copy of this function for each call,
 * which knows the input's type, and asks for no conversions. State is one map of bytes per key, the same for all
 * specs.
 */
public class SlideWindows extends ProcessTableFunction<RowData> implements SpecializedFunction {
    private static final long serialVersionUID = 1L;

    private static final String[] COLUMNS = {"at", "id", "canonical", "kafka_partition", "kafka_offset", "payload"};
    private static final int AT = 0;
    private static final int ID = 1;
    private static final int CANONICAL = 2;
    private static final int PARTITION = 3;
    private static final int OFFSET = 4;
    private static final int PAYLOAD = 5;
    private static final int TECHNICAL = 7;
    private static final byte[] NO_BYTES = {};

    /** Both null until the function is made for a call. */
    private final String specText;
    private final int[] positions;

    private transient WindowKernel kernel;
    private transient ValueType[] valueTypes;
    private transient boolean[] passes;
    private transient Object[] values;
    private transient int features;

    public SlideWindows() {
        this(null, null);
    }

    private SlideWindows(String specText, int[] positions) {
        this.specText = specText;
        this.positions = positions;
    }

    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        if (call.getTableSemantics(0).orElseThrow().timeColumn() >= 0) {
            throw call.newValidationError("Leave out on_time: with it Flink drops late rows silently.");
        }
        String text = call.getArgumentValue(1, String.class).orElseThrow();
        Spec spec = Spec.parse(text);
        List<String> names = DataTypeUtils.flattenToNames(call.getArgumentDataTypes().get(0));
        List<String> wanted = new ArrayList<>(List.of(COLUMNS));
        for (int i = 0; i < spec.passCount(); i++) {
            wanted.add("p" + i);
        }
        for (int i = 0; i < spec.valueCount(); i++) {
            wanted.add("v" + i);
        }
        if (!names.containsAll(wanted)) {
            throw call.newValidationError("The input needs the columns %s, not %s.", wanted, names);
        }
        return new SlideWindows(text, wanted.stream().mapToInt(names::indexOf).toArray());
    }

    @Override
    public void open(FunctionContext context) throws Exception {
        Spec spec = Spec.parse(specText);
        kernel = new WindowKernel(spec, ParsedMessages::now, OperatorKeptSince.of(context));
        valueTypes = spec.valueTypes();
        passes = new boolean[spec.passCount()];
        values = new Object[spec.valueCount()];
        features = spec.aggregates.length;
    }

    public void eval(Context context, MapView<Long, byte[]> state, RowData in, StringData spec) throws Exception {
        TimeContext<Long> time = context.timeContext(Long.class);
        int place = COLUMNS.length;
        for (int i = 0; i < passes.length; i++) {
            int column = positions[place++];
            passes[i] = !in.isNullAt(column) && in.getBoolean(column);
        }
        for (int i = 0; i < values.length; i++) {
            values[i] = value(in, positions[place++], valueTypes[i]);
        }
        Text id = (Text) value(in, positions[ID], ValueType.STRING);
        Verdict verdict = kernel.onEvent(new KeyState(state, time), in.getLong(positions[AT]), id, canonical(in),
                passes, values, finalStep(time), this::emit);
        if (verdict == Verdict.TOO_LATE) {
            collect(tooLate(in));
        }
    }

    public void onTimer(OnTimerContext context, MapView<Long, byte[]> state) throws Exception {
        TimeContext<Long> time = context.timeContext(Long.class);
        kernel.onTimer(new KeyState(state, time), finalStep(time), this::emit);
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        LinkedHashMap<String, StateTypeStrategy> states = new LinkedHashMap<>();
        DataType slots = MapView.newMapViewDataType(DataTypes.BIGINT().notNull(), DataTypes.BYTES().notNull());
        states.put("state", StateTypeStrategy.of(TypeStrategies.explicit(slots)));
        EnumSet<StaticArgumentTrait> traits =
                EnumSet.of(StaticArgumentTrait.TABLE, StaticArgumentTrait.SET_SEMANTIC_TABLE);
        TypeInference.Builder types = TypeInference.newBuilder()
                .staticArguments(
                        StaticArgument.table("in", RowData.class, false, traits),
                        StaticArgument.scalar("spec", DataTypes.STRING().notNull(), false))
                .stateTypeStrategies(states)
                .outputTypeStrategy(SlideWindows::typeOf);
        if (specText != null) {
            types.inputTypeStrategy(new InternalTypes());
        }
        return types.build();
    }

    private static Optional<DataType> typeOf(CallContext call) {
        Optional<String> text = call.getArgumentValue(1, String.class);
        if (text.isEmpty()) {
            return call.fail(true, "The spec must be a literal.");
        }
        Spec spec = Spec.parse(text.get());
        List<DataTypes.Field> fields = new ArrayList<>(List.of(
                DataTypes.FIELD("problem", DataTypes.STRING()),
                DataTypes.FIELD("feature_us", DataTypes.BIGINT()),
                DataTypes.FIELD("created_us", DataTypes.BIGINT()),
                DataTypes.FIELD("kafka_partition", DataTypes.INT()),
                DataTypes.FIELD("kafka_offset", DataTypes.BIGINT()),
                DataTypes.FIELD("payload", DataTypes.STRING()),
                DataTypes.FIELD("event_us", DataTypes.BIGINT())));
        for (int i = 0; i < spec.aggregates.length; i++) {
            fields.add(DataTypes.FIELD("f" + i, FlinkTypes.of(spec.measures[spec.aggregates[i].measure])));
        }
        return Optional.of(DataTypeUtils.toInternalDataType(DataTypes.ROW(fields.toArray(new DataTypes.Field[0]))));
    }

    private byte[] canonical(RowData in) {
        return in.isNullAt(positions[CANONICAL]) ? NO_BYTES : in.getBinary(positions[CANONICAL]);
    }

    private static Object value(RowData in, int column, ValueType type) {
        if (type == null || in.isNullAt(column)) {
            return null;
        }
        return switch (type) {
            case INT, TIMESTAMP -> in.getLong(column);
            case FLOAT -> in.getDouble(column);
            case STRING -> new Text(in.getString(column).toBytes());
            case BOOL -> in.getBoolean(column);
        };
    }

    private long finalStep(TimeContext<Long> time) {
        Long watermark = time.currentWatermark();
        return kernel.finalStep(watermark == null ? Long.MIN_VALUE : watermark);
    }

    private void emit(long featureTimestamp, long created, Object[] results) {
        GenericRowData row = new GenericRowData(TECHNICAL + features);
        row.setField(1, featureTimestamp);
        row.setField(2, created);
        for (int i = 0; i < features; i++) {
            row.setField(TECHNICAL + i, FlinkTypes.internal(results[i]));
        }
        collect(row);
    }

    private RowData tooLate(RowData in) {
        GenericRowData row = new GenericRowData(TECHNICAL + features);
        row.setField(0, StringData.fromString("too late"));
        row.setField(3, in.isNullAt(positions[PARTITION]) ? null : in.getInt(positions[PARTITION]));
        row.setField(4, in.isNullAt(positions[OFFSET]) ? null : in.getLong(positions[OFFSET]));
        row.setField(5, in.isNullAt(positions[PAYLOAD]) ? null : in.getString(positions[PAYLOAD]));
        row.setField(6, in.getLong(positions[AT]));
        return row;
    }

    /** One entity's state in Flink. */
    private record KeyState(MapView<Long, byte[]> slots, TimeContext<Long> time) implements KernelState {
        @Override
        public byte[] get(long slot) throws Exception {
            return slots.get(slot);
        }

        @Override
        public void put(long slot, byte[] bytes) throws Exception {
            slots.put(slot, bytes);
        }

        @Override
        public void remove(long slot) throws Exception {
            slots.remove(slot);
        }

        @Override
        public void registerTimer(long featureTimestamp) {
            time.registerOnTime(featureTimestamp / 1000 - 1);
        }
    }

    /** Arguments as they are inside of Flink. */
    private static final class InternalTypes implements InputTypeStrategy {
        @Override
        public ArgumentCount getArgumentCount() {
            return ConstantArgumentCount.any();
        }

        @Override
        public Optional<List<DataType>> inferInputTypes(CallContext call, boolean throwOnFailure) {
            return Optional.of(
                    call.getArgumentDataTypes().stream().map(DataTypeUtils::toInternalDataType).toList());
        }

        @Override
        public List<Signature> getExpectedSignatures(FunctionDefinition definition) {
            return List.of();
        }
    }
}
