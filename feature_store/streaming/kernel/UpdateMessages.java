package featurestore;

import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.utils.ProjectedRowData;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.utils.Utils;

/**
 * Rows of a group and marks ({@link Mark}) as messages of the topic of updates.
 *
 * <p>A row's partition follows from its key as in Kafka's own clients, but of the partitions that there were when the
 * subtask began: a partition that is added later gets neither rows nor marks until the job's next start.
 */
final class UpdateMessages implements KafkaRecordSerializationSchema<Object> {
    private static final long serialVersionUID = 1L;

    private final String topic;
    private final int[] keyColumns;
    private final SerializationSchema<RowData> keys;
    private final SerializationSchema<RowData> values;

    private transient ProjectedRowData key;
    private transient int partitions;

    UpdateMessages(
            String topic, int[] keyColumns, SerializationSchema<RowData> keys, SerializationSchema<RowData> values) {
        this.topic = topic;
        this.keyColumns = keyColumns;
        this.keys = keys;
        this.values = values;
    }

    @Override
    public void open(SerializationSchema.InitializationContext context, KafkaSinkContext sink) throws Exception {
        keys.open(context);
        values.open(context);
        key = ProjectedRowData.from(keyColumns);
        partitions = sink.getPartitionsForTopic(topic).length;
    }

    /** How many partitions rows go to, from 0 on; known when it is open. */
    int partitions() {
        return partitions;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(Object message, KafkaSinkContext sink, Long timestamp) {
        if (message instanceof Mark mark) {
            return new ProducerRecord<>(topic, mark.partition(), mark.key(), null);
        }
        RowData row = (RowData) message;
        byte[] name = keys.serialize(key.replaceRow(row));
        int partition = Utils.toPositive(Utils.murmur2(name)) % partitions;
        return new ProducerRecord<>(topic, partition, name, values.serialize(row));
    }
}
