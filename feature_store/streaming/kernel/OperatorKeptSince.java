package featurestore;

import java.lang.reflect.Field;
import java.util.List;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.runtime.execution.Environment;
import org.apache.flink.runtime.state.OperatorStateBackend;
import org.apache.flink.streaming.api.operators.AbstractStreamOperatorV2;
import org.apache.flink.streaming.api.operators.StreamingRuntimeContext;
import org.apache.flink.streaming.runtime.tasks.OperatorChain;
import org.apache.flink.streaming.runtime.tasks.StreamOperatorWrapper;
import org.apache.flink.streaming.runtime.tasks.StreamTask;
import org.apache.flink.table.functions.FunctionContext;

/**
 * The instant in Flink: one of each subtask in the operator's union state, as Flink's own window operators keep their
 * watermark. A restored subtask goes on with the latest one, since it may have got entities of any other.
 *
 * <p>Flink gives a table function only state by key, so the operator is found through the task that runs it. The
 * fields that lead there have no public access; a Flink without them fails the job when it starts.
 */
final class OperatorKeptSince implements KeptSince {
    private final ListState<Long> state;
    private long instant = Long.MIN_VALUE;

    private OperatorKeptSince(ListState<Long> state) throws Exception {
        this.state = state;
        for (long each : state.get()) {
            instant = Math.max(instant, each);
        }
        state.update(instant == Long.MIN_VALUE ? List.of() : List.of(instant));
    }

    /** Restores what the operator of a function has kept; to be called when the function is opened. */
    static OperatorKeptSince of(FunctionContext context) throws Exception {
        OperatorStateBackend states = operator(context).getOperatorStateBackend();
        return new OperatorKeptSince(
                states.getUnionListState(new ListStateDescriptor<>("kept-since", LongSerializer.INSTANCE)));
    }

    @Override
    public long instant() {
        return instant;
    }

    @Override
    public void moveTo(long later) {
        instant = later;
        try {
            state.update(List.of(later));
        } catch (Exception failure) {
            throw new IllegalStateException("the operator's state cannot be written", failure);
        }
    }

    private static AbstractStreamOperatorV2<?> operator(FunctionContext context) throws ReflectiveOperationException {
        StreamingRuntimeContext runtime = (StreamingRuntimeContext) read(context, "context");
        Environment environment = (Environment) read(runtime, "taskEnvironment");
        StreamTask<?, ?> task = (StreamTask<?, ?>) read(read(environment, "containingTask"), "invokable");
        OperatorChain<?, ?> chain = (OperatorChain<?, ?>) read(task, "operatorChain");
        for (StreamOperatorWrapper<?, ?> wrapper : chain.getAllOperators()) {
            if (wrapper.getStreamOperator() instanceof AbstractStreamOperatorV2<?> operator
                    && operator.getOperatorID().toString().equals(runtime.getOperatorUniqueID())) {
                return operator;
            }
        }
        throw new IllegalStateException("no operator " + runtime.getOperatorUniqueID() + " in its own task");
    }

    private static Object read(Object owner, String name) throws ReflectiveOperationException {
        for (Class<?> type = owner.getClass(); type != null; type = type.getSuperclass()) {
            for (Field field : type.getDeclaredFields()) {
                if (field.getName().equals(name)) {
                    field.setAccessible(true);
                    return field.get(owner);
                }
            }
        }
        throw new NoSuchFieldException(owner.getClass().getName() + "." + name);
    }
}
