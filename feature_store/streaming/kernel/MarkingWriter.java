package featurestore;

import java.io.IOException;
import java.util.Collection;
import java.util.List;
import org.apache.flink.api.common.TaskInfo;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.operators.ProcessingTimeService;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.connector.kafka.sink.TwoPhaseCommittingStatefulSink.PrecommittingStatefulSinkWriter;
import org.apache.flink.table.data.RowData;

/**
 * Writes the rows of a subtask, and behind them marks of its watermark into every partition: soon after the watermark
 * has moved, and now and then while it stands, which shows that the job is alive.
 *
 * <p>The watermark comes to a writer behind the rows that it stands for, and the producer keeps the order of the
 * messages of a partition, so a mark stands behind them, too.
 */
final class MarkingWriter<S, C> implements PrecommittingStatefulSinkWriter<RowData, S, C> {
    private static final long LOOK_MS = 200;
    private static final long REPEAT_MS = 1_000;
    private static final Context NO_TIME = new Context() {
        @Override
        public long currentWatermark() {
            return Long.MIN_VALUE;
        }

        @Override
        public Long timestamp() {
            return null;
        }
    };

    private final PrecommittingStatefulSinkWriter<Object, S, C> kafka;
    private final int partitions;
    private final ProcessingTimeService time;
    private final Mark.Writer self;

    private long watermark = Long.MIN_VALUE;
    private long markedWatermark = Long.MIN_VALUE;
    private long markedAt;
    private boolean closed;

    MarkingWriter(PrecommittingStatefulSinkWriter<Object, S, C> kafka, int partitions, WriterInitContext context) {
        this.kafka = kafka;
        this.partitions = partitions;
        time = context.getProcessingTimeService();
        TaskInfo task = context.getTaskInfo();
        self = new Mark.Writer(context.getJobInfo().getJobId().toHexString(), task.getAttemptNumber(),
                task.getNumberOfParallelSubtasks(), task.getIndexOfThisSubtask());
        lookAgain();
    }

    @Override
    public void write(RowData row, Context context) throws IOException, InterruptedException {
        kafka.write(row, context);
    }

    /** The end of all time, which comes when a job is drained, is not written: the job's next start may go on. */
    @Override
    public void writeWatermark(Watermark reached) {
        if (reached.getTimestamp() < Long.MAX_VALUE) {
            watermark = reached.getTimestamp();
        }
    }

    @Override
    public void flush(boolean endOfInput) throws IOException, InterruptedException {
        kafka.flush(endOfInput);
    }

    @Override
    public List<S> snapshotState(long checkpointId) throws IOException {
        return kafka.snapshotState(checkpointId);
    }

    @Override
    public Collection<C> prepareCommit() throws IOException, InterruptedException {
        return kafka.prepareCommit();
    }

    @Override
    public void close() throws Exception {
        closed = true;
        kafka.close();
    }

    private void lookAgain() {
        time.registerTimer(time.getCurrentProcessingTime() + LOOK_MS, now -> {
            if (!closed) {
                mark(System.currentTimeMillis());
                lookAgain();
            }
        });
    }

    private void mark(long now) throws IOException, InterruptedException {
        boolean moved = watermark > markedWatermark;
        if (moved || (watermark > Long.MIN_VALUE && now - markedAt >= REPEAT_MS)) {
            for (int partition = 0; partition < partitions; partition++) {
                kafka.write(new Mark(self, partitions, partition, watermark, now), NO_TIME);
            }
            markedWatermark = watermark;
            markedAt = now;
        }
    }
}
