package featurestore;

import java.nio.charset.StandardCharsets;

/**
 * What a subtask says of one partition of the topic of updates: behind this message comes no more row of the subtask
 * with a time up to the watermark, except corrections.
 *
 * @param writer the subtask
 * @param partitions how many partitions the subtask writes to, from 0 on
 * @param partition the one in which the mark stands
 * @param watermark milliseconds
 * @param written when it was written, in milliseconds
 */
record Mark(Writer writer, int partitions, int partition, long watermark, long written) {
    /**
     * A subtask that writes updates.
     *
     * @param job Flink's id of the job, in hex
     * @param attempt how many times Flink has restarted it
     * @param parallelism how many subtasks there are
     * @param subtask which of them
     */
    record Writer(String job, int attempt, int parallelism, int subtask) {}

    /** The key of the message, which has no value; `streaming/marks.py` reads it. */
    byte[] key() {
        String text = "[\"" + writer.job + "\"," + writer.attempt + "," + writer.parallelism + "," + writer.subtask
                + "," + partitions + "," + watermark + "," + written + "]";
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
