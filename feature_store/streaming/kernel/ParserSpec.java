package featurestore;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

/** How the messages of a topic are read: the JSON text that feature_store.compile.flink writes. */
final class ParserSpec {
    private static final ObjectMapper JSON = new ObjectMapper();

    final boolean isAvro;
    /** How instants are written: "iso", "ms" or "us". */
    final String timeFormat;
    /** The writer's schema; null for JSON. */
    final String avroSchema;
    /** How many microseconds an event time may be ahead of the clock; Long.MAX_VALUE for any. */
    final long ahead;
    final String[] names;
    final ValueType[] types;
    /** Index of the column that holds the event time. */
    final int eventTime;

    private ParserSpec(JsonNode json) {
        isAvro = json.get("format").asText().equals("avro");
        timeFormat = json.get("time_format").asText();
        avroSchema = isAvro ? json.get("avro_schema").asText() : null;
        ahead = json.hasNonNull("ahead") ? json.get("ahead").asLong() : Long.MAX_VALUE;
        JsonNode columns = json.get("columns");
        names = new String[columns.size()];
        types = new ValueType[names.length];
        int found = -1;
        for (int i = 0; i < names.length; i++) {
            names[i] = columns.get(i).get("name").asText();
            types[i] = ValueType.valueOf(columns.get(i).get("type").asText());
            found = names[i].equals(json.get("event_timestamp").asText()) ? i : found;
        }
        if (found < 0 || types[found] != ValueType.TIMESTAMP) {
            String name = json.get("event_timestamp").asText();
            throw new IllegalArgumentException("the event time '" + name + "' is no TIMESTAMP column");
        }
        eventTime = found;
    }

    /** @throws IllegalArgumentException if the text is not a spec */
    static ParserSpec parse(String text) {
        try {
            return new ParserSpec(JSON.readTree(text));
        } catch (JsonProcessingException error) {
            throw new IllegalArgumentException("the parser's spec is not JSON: " + error.getOriginalMessage(), error);
        }
    }
}
