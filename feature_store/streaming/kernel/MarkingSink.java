package featurestore;

import java.io.IOException;
import java.util.Collection;
import org.apache.flink.api.connector.sink2.Committer;
import org.apache.flink.api.connector.sink2.CommitterInitContext;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.connector.kafka.sink.TwoPhaseCommittingStatefulSink;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.table.data.RowData;

/**
 * Flink's Kafka sink, whose writers also write marks. Its operators and their state are those of Flink's sink, so a
 * job that wrote without marks can be continued with them.
 *
 * @param <S> state of Flink's writer
 * @param <C> what Flink's writer gives to its committer
 */
final class MarkingSink<S, C> implements TwoPhaseCommittingStatefulSink<RowData, S, C> {
    private static final long serialVersionUID = 1L;

    private final TwoPhaseCommittingStatefulSink<Object, S, C> kafka;
    /** The object that is part of `kafka`, too: they are copied together. */
    private final UpdateMessages messages;

    MarkingSink(TwoPhaseCommittingStatefulSink<Object, S, C> kafka, UpdateMessages messages) {
        this.kafka = kafka;
        this.messages = messages;
    }

    @Override
    public PrecommittingStatefulSinkWriter<RowData, S, C> createWriter(WriterInitContext context) throws IOException {
        return new MarkingWriter<>(kafka.createWriter(context), messages.partitions(), context);
    }

    @Override
    public PrecommittingStatefulSinkWriter<RowData, S, C> restoreWriter(WriterInitContext context, Collection<S> state)
            throws IOException {
        return new MarkingWriter<>(kafka.restoreWriter(context, state), messages.partitions(), context);
    }

    @Override
    public SimpleVersionedSerializer<S> getWriterStateSerializer() {
        return kafka.getWriterStateSerializer();
    }

    @Override
    public Committer<C> createCommitter(CommitterInitContext context) throws IOException {
        return kafka.createCommitter(context);
    }

    @Override
    public SimpleVersionedSerializer<C> getCommittableSerializer() {
        return kafka.getCommittableSerializer();
    }
}
