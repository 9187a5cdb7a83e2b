package featurestore;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * The kernel and the parser without Flink, for tests: reads JSON objects from standard input, one a line.
 *
 * <pre>
 * {"spec": {…}}                                       a new kernel without events; its watermark is unknown
 * {"event": {"key", "at", "id", "passes", "values"}}  an event; "watermark": ms beside it moves time afterwards
 * {"event": {…, "row": [[type, value], …]}}           the same with its columns, which order simultaneous copies
 * {"watermark": ms}                                   moves time: timers that are due fire, in the order of their times
 * {"restore": true}                                   another kernel goes on with the state; it does not know the watermark
 * {"restore": {…}}                                    the same with another spec
 * {"clock": micros}                                   sets the clock of created timestamps
 * {"answer": true}                                    answers what became of it so far
 * {"end": true}                                       the end of the stream; answers what became of it
 * {"parser": {…}}, then {"payload": base64}           answers {"at", "problem", "values"}
 * </pre>
 *
 * An error is answered as {"error": text} in place of the answer, and the kernel's rest is passed over.
 */
public final class Harness {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private Spec spec;
    private WindowKernel kernel;
    private final Map<String, Memory> entities = new HashMap<>();
    private final TreeMap<Long, TreeSet<String>> timers = new TreeMap<>();
    private final ArrayNode rows = NODES.arrayNode();
    private final ArrayNode verdicts = NODES.arrayNode();
    private final KeptSince keptSince = new Kept();
    private long watermark = Long.MIN_VALUE;
    /** Stands still between events, so that the kernel has to tell the rows of one instant apart. */
    private long clock;
    private long stateAccesses;
    /** Bytes of state that were read and written. */
    private long stateBytes;
    private String error;

    private Harness(Spec spec) {
        this.spec = spec;
        kernel = newKernel();
    }

    private WindowKernel newKernel() {
        return new WindowKernel(spec, () -> clock, keptSince);
    }

    public static void main(String[] arguments) throws IOException {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
        Harness harness = null;
        EventParser parser = null;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode command = JSON.readTree(line);
            JsonNode answer = null;
            if (command.has("spec")) {
                harness = new Harness(Spec.parse(command.get("spec").toString()));
            } else if (command.has("parser")) {
                long clock = command.path("clock").asLong();
                parser = new EventParser(ParserSpec.parse(command.get("parser").toString()), () -> clock);
            } else if (command.has("payload")) {
                answer = parsed(parser.parse(Base64.getDecoder().decode(command.get("payload").asText())));
            } else {
                answer = harness.run(command);
            }
            if (answer != null) {
                out.write(answer.toString());
                out.newLine();
                out.flush();
            }
        }
    }

    private JsonNode run(JsonNode command) {
        try {
            if (error == null && command.has("event")) {
                take(command.get("event"));
            }
            if (command.has("restore")) {
                spec = command.get("restore").isObject() ? Spec.parse(command.get("restore").toString()) : spec;
                kernel = newKernel();
                watermark = Long.MIN_VALUE;
            }
            if (command.has("clock")) {
                clock = command.get("clock").asLong();
            }
            if (error == null && (command.has("watermark") || command.has("end"))) {
                advance(command.has("end") ? Long.MAX_VALUE : command.get("watermark").asLong());
            }
        } catch (Exception failure) {
            error = String.valueOf(failure.getMessage());
        }
        return command.has("end") || command.has("answer") ? answer() : null;
    }

    private JsonNode answer() {
        ObjectNode answer = NODES.objectNode();
        if (error != null) {
            return answer.put("error", error);
        }
        long left = entities.values().stream().filter(entity -> !entity.slots.isEmpty()).count();
        answer.put("entities_left", left).put("state_accesses", stateAccesses).put("state_bytes", stateBytes);
        answer.set("verdicts", verdicts);
        answer.set("rows", rows);
        return answer;
    }

    private void take(JsonNode event) throws Exception {
        clock += 1_000_000;
        String key = event.get("key").asText();
        boolean[] passes = new boolean[spec.passCount()];
        for (int i = 0; i < passes.length; i++) {
            passes[i] = event.get("passes").get(i).asBoolean();
        }
        Object[] values = new Object[spec.valueCount()];
        for (int i = 0; i < values.length; i++) {
            values[i] = value(event.get("values").get(i), spec.valueTypes()[i]);
        }
        Text id = event.hasNonNull("id") ? Text.of(event.get("id").asText()) : null;
        Memory entity = entities.computeIfAbsent(key, Memory::new);
        Verdict verdict = kernel.onEvent(entity, event.get("at").asLong(), id, canonical(event), passes, values,
                kernel.finalStep(watermark), (time, created, results) -> keep(key, time, created, results));
        verdicts.add(verdict.name());
    }

    private static byte[] canonical(JsonNode event) {
        List<Object> row = new ArrayList<>();
        for (JsonNode column : event.path("row")) {
            row.add(value(column.get(1), ValueType.valueOf(column.get(0).asText())));
        }
        return Canonical.of(row.toArray());
    }

    private void advance(long to) throws Exception {
        watermark = Math.max(watermark, to);
        long fired = kernel.finalStep(watermark);
        while (!timers.isEmpty() && timers.firstKey() <= fired * spec.slide) {
            for (String key : timers.pollFirstEntry().getValue()) {
                kernel.onTimer(entities.get(key), fired, (time, created, results) -> keep(key, time, created, results));
            }
        }
    }

    private void keep(String key, long time, long created, Object[] results) {
        ArrayNode values = NODES.arrayNode();
        for (Object result : results) {
            values.add(json(result));
        }
        rows.add(NODES.arrayNode().add(key).add(time).add(created).add(values));
    }

    private static JsonNode parsed(ParsedEvent event) {
        ObjectNode answer = NODES.objectNode();
        answer.put("at", event.at()).put("problem", event.problem());
        ArrayNode values = answer.putArray("values");
        for (Object value : event.values()) {
            values.add(json(value));
        }
        return answer;
    }

    private static Object value(JsonNode json, ValueType type) {
        if (type == null || json.isNull()) {
            return null;
        }
        return switch (type) {
            case INT, TIMESTAMP -> json.asLong();
            case FLOAT -> json.isTextual() ? Double.valueOf(json.asText()) : Double.valueOf(json.asDouble());
            case STRING -> Text.of(json.asText());
            case BOOL -> json.asBoolean();
        };
    }

    private static JsonNode json(Object value) {
        if (value instanceof Object[]) {
            ArrayNode items = NODES.arrayNode();
            for (Object item : (Object[]) value) {
                items.add(json(item));
            }
            return items;
        }
        if (value instanceof Long) {
            return NODES.numberNode((Long) value);
        }
        if (value instanceof Double) {
            return NODES.numberNode((Double) value);
        }
        if (value instanceof Boolean) {
            return NODES.booleanNode((Boolean) value);
        }
        return value == null ? NODES.nullNode() : NODES.textNode(value.toString());
    }

    /** The state of all entities together in memory. */
    private static final class Kept implements KeptSince {
        private long instant = Long.MIN_VALUE;

        @Override
        public long instant() {
            return instant;
        }

        @Override
        public void moveTo(long later) {
            instant = later;
        }
    }

    /** An entity's state in memory. */
    private final class Memory implements KernelState {
        private final String key;
        private final Map<Long, byte[]> slots = new HashMap<>();

        Memory(String key) {
            this.key = key;
        }

        @Override
        public byte[] get(long slot) {
            byte[] found = slots.get(slot);
            stateAccesses++;
            stateBytes += found == null ? 0 : found.length;
            return found;
        }

        @Override
        public void put(long slot, byte[] bytes) {
            stateAccesses++;
            stateBytes += bytes.length;
            slots.put(slot, bytes);
        }

        @Override
        public void remove(long slot) {
            stateAccesses++;
            slots.remove(slot);
        }

        @Override
        public void registerTimer(long featureTimestamp) {
            timers.computeIfAbsent(featureTimestamp, time -> new TreeSet<>()).add(key);
        }
    }
}
