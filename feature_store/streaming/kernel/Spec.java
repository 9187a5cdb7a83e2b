package featurestore;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** What a kernel computes: the JSON text that feature_store.compile.kernel_spec writes. Times are microseconds. */
public final class Spec {
    /** Stands for "no window ends": an aggregate over all time. */
    static final long ALL_TIME = Long.MAX_VALUE;

    private static final int FORMAT = 1;
    private static final int MOST_WINDOWS = 62;
    private static final long WEEK = 7 * 24 * 3600 * 1_000_000L;
    private static final ObjectMapper JSON = new ObjectMapper();

    final long slide;
    final long lateness;
    /** Rows up to this feature timestamp are written by batch; Long.MIN_VALUE if there is no batch. */
    final long cut;
    /** Whether every entity whose windows hold something gets a row at the first feature timestamp after the cut. */
    final boolean standing;
    /** Whether events have ids, of whose copies one counts. */
    final boolean eventId;
    /** How much later than another event of its id an event is a copy. */
    final long deduplicateWithin;
    /** The condition without which an event adds nothing, though it may have copies; -1 if there is none. */
    final int rowPass;
    final Aggregate[] aggregates;
    /** What tiles hold: aggregates over the same values of the same rows share a partial. */
    final Measure[] measures;
    /** The different conditions of session aggregates: tiles remember first and last time of the rows that pass. */
    final int[] sessionPasses;
    /** Lengths of the different windows, gaps of sessions included, ALL_TIME last. */
    final long[] windows;
    /** The longest window that ends; 0 if there is none. */
    final long longest;
    final boolean hasAllTime;
    final boolean hasSessions;

    /** One feature. */
    static final class Aggregate {
        final String name;
        final int measure;
        final long window;
        final int windowIndex;
        final int pass;
        /** Index into sessionPasses; -1 if the window is not a session. */
        final int session;

        Aggregate(String name, int measure, long window, int windowIndex, int pass, int session) {
            this.name = name;
            this.measure = measure;
            this.window = window;
            this.windowIndex = windowIndex;
            this.pass = pass;
            this.session = session;
        }
    }

    /** A function over one input; -1 stands for no condition, no value, no weight. */
    record Measure(String function, ValueType type, int value, ValueType weightType, int weight, int pass, int limit,
            double share) {
        /** Type of the results, of one element for lists. */
        ValueType resultType() {
            return switch (function) {
                case "count", "count_distinct", "approx_count_distinct" -> ValueType.INT;
                case "mean", "stddev", "variance", "percentile" -> ValueType.FLOAT;
                default -> type;
            };
        }

        boolean givesList() {
            return switch (function) {
                case "first_n", "last_n", "top_k", "collect_set" -> true;
                default -> false;
            };
        }
    }

    private Spec(JsonNode json) {
        if (json.path("format").asInt() != FORMAT) {
            String given = json.path("format").asText();
            throw new IllegalArgumentException("the kernel reads specs of format " + FORMAT + ", not " + given);
        }
        slide = json.get("slide").asLong();
        lateness = json.get("lateness").asLong();
        cut = json.hasNonNull("cut") ? json.get("cut").asLong() : Long.MIN_VALUE;
        standing = json.path("standing").asBoolean() && json.hasNonNull("cut");
        eventId = json.path("event_id").asBoolean();
        deduplicateWithin = json.path("deduplicate_within").asLong(WEEK);
        rowPass = indexOf(json, "row_pass");
        JsonNode features = json.get("aggregates");
        windows = distinctWindows(features);
        List<Measure> shared = new ArrayList<>();
        List<Integer> passes = new ArrayList<>();
        aggregates = new Aggregate[features.size()];
        for (int i = 0; i < aggregates.length; i++) {
            JsonNode feature = features.get(i);
            Measure measure = measureOf(feature);
            long window = windowOf(feature);
            int session = feature.path("session").asBoolean() ? position(passes, measure.pass()) : -1;
            aggregates[i] = new Aggregate(feature.get("name").asText(), position(shared, measure), window,
                    Arrays.binarySearch(windows, window), measure.pass(), session);
        }
        measures = shared.toArray(new Measure[0]);
        sessionPasses = passes.stream().mapToInt(Integer::intValue).toArray();
        hasSessions = sessionPasses.length > 0;
        hasAllTime = windows.length > 0 && windows[windows.length - 1] == ALL_TIME;
        int ending = windows.length - (hasAllTime ? 1 : 0);
        longest = ending > 0 ? windows[ending - 1] : 0;
        if (slide <= 0 || lateness < 0 || windows.length > MOST_WINDOWS) {
            throw new IllegalArgumentException(
                    "a spec needs a slide, a lateness and at most " + MOST_WINDOWS + " windows");
        }
    }

    /** @throws IllegalArgumentException if the text is not a spec */
    public static Spec parse(String text) {
        try {
            return new Spec(JSON.readTree(text));
        } catch (JsonProcessingException error) {
            throw new IllegalArgumentException("the kernel's spec is not JSON: " + error.getOriginalMessage(), error);
        }
    }

    /** Number of condition columns and of value columns that the kernel reads. */
    int passCount() {
        return 1 + Math.max(rowPass, Arrays.stream(measures).mapToInt(Measure::pass).max().orElse(-1));
    }

    int valueCount() {
        return 1 + Arrays.stream(measures).mapToInt(m -> Math.max(m.value(), m.weight())).max().orElse(-1);
    }

    /** Types of the value columns; null for one that nothing reads. */
    ValueType[] valueTypes() {
        ValueType[] types = new ValueType[valueCount()];
        for (Measure measure : measures) {
            if (measure.value() >= 0) {
                types[measure.value()] = measure.type();
            }
            if (measure.weight() >= 0) {
                types[measure.weight()] = measure.weightType();
            }
        }
        return types;
    }

    /** The end of the slide step that holds an instant, in slide steps: T = step * slide. */
    long stepOf(long at) {
        return Math.floorDiv(at, slide) + 1;
    }

    private static Measure measureOf(JsonNode feature) {
        return new Measure(feature.get("function").asText(), typeOf(feature, "type"), indexOf(feature, "value"),
                typeOf(feature, "weight_type"), indexOf(feature, "weight"), indexOf(feature, "pass"),
                feature.hasNonNull("k") ? feature.get("k").asInt() : 0,
                feature.hasNonNull("q") ? feature.get("q").asDouble() : 0);
    }

    private static int indexOf(JsonNode feature, String field) {
        return feature.hasNonNull(field) ? feature.get(field).asInt() : -1;
    }

    private static ValueType typeOf(JsonNode feature, String field) {
        return feature.hasNonNull(field) ? ValueType.valueOf(feature.get(field).asText()) : null;
    }

    private static long windowOf(JsonNode feature) {
        return feature.hasNonNull("window") ? feature.get("window").asLong() : ALL_TIME;
    }

    private static long[] distinctWindows(JsonNode features) {
        List<Long> sizes = new ArrayList<>();
        features.forEach(feature -> sizes.add(windowOf(feature)));
        return sizes.stream().mapToLong(Long::longValue).distinct().sorted().toArray();
    }

    private static <T> int position(List<T> all, T one) {
        if (!all.contains(one)) {
            all.add(one);
        }
        return all.indexOf(one);
    }
}
