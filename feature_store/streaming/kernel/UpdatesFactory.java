package featurestore;

import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.stream.IntStream;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.Projection;
import org.apache.flink.table.connector.format.EncodingFormat;
import org.apache.flink.table.connector.sink.DynamicTableSink;
import org.apache.flink.table.connector.sink.SinkV2Provider;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DynamicTableSinkFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.factories.SerializationFormatFactory;
import org.apache.flink.table.types.DataType;

/**
 * The table of a group's updates: a Kafka topic of rows at least once, with marks ({@link Mark}) among them.
 *
 * <p>Options: `topic`, `keys` (how many of the first columns are the message's key), `format` of key and value,
 * `properties.*` of the Kafka client.
 */
public final class UpdatesFactory implements DynamicTableSinkFactory {
    private static final String PROPERTIES = "properties.";
    private static final ConfigOption<String> TOPIC = ConfigOptions.key("topic").stringType().noDefaultValue();
    private static final ConfigOption<Integer> KEYS = ConfigOptions.key("keys").intType().noDefaultValue();

    @Override
    public String factoryIdentifier() {
        return "feature-store-updates";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(TOPIC, KEYS, FactoryUtil.FORMAT);
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of();
    }

    @Override
    public DynamicTableSink createDynamicTableSink(Context context) {
        FactoryUtil.TableFactoryHelper helper = FactoryUtil.createTableFactoryHelper(this, context);
        EncodingFormat<SerializationSchema<RowData>> format =
                helper.discoverEncodingFormat(SerializationFormatFactory.class, FactoryUtil.FORMAT);
        helper.validateExcept(PROPERTIES);
        Properties client = new Properties();
        for (Map.Entry<String, String> option : context.getCatalogTable().getOptions().entrySet()) {
            if (option.getKey().startsWith(PROPERTIES)) {
                client.put(option.getKey().substring(PROPERTIES.length()), option.getValue());
            }
        }
        int keys = helper.getOptions().get(KEYS);
        return new Updates(helper.getOptions().get(TOPIC), keys, client, format, context.getPhysicalRowDataType());
    }

    private record Updates(
            String topic,
            int keys,
            Properties client,
            EncodingFormat<SerializationSchema<RowData>> format,
            DataType columns)
            implements DynamicTableSink {
        @Override
        public ChangelogMode getChangelogMode(ChangelogMode requested) {
            return ChangelogMode.insertOnly();
        }

        @Override
        public SinkRuntimeProvider getSinkRuntimeProvider(Context context) {
            int[] keyColumns = IntStream.range(0, keys).toArray();
            DataType keyType = Projection.of(keyColumns).project(columns);
            UpdateMessages messages = new UpdateMessages(topic, keyColumns,
                    format.createRuntimeEncoder(context, keyType), format.createRuntimeEncoder(context, columns));
            KafkaSink<Object> kafka = KafkaSink.<Object>builder()
                    .setBootstrapServers(client.getProperty("bootstrap.servers"))
                    .setKafkaProducerConfig(client)
                    .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
                    .setRecordSerializer(messages)
                    .build();
            return SinkV2Provider.of(new MarkingSink<>(kafka, messages));
        }

        @Override
        public DynamicTableSink copy() {
            return this;
        }

        @Override
        public String asSummaryString() {
            return "updates of a feature group";
        }
    }
}
