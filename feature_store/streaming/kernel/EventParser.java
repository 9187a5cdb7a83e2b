package featurestore;

import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.function.LongSupplier;

/** Reads the messages of a topic, and says of each that is no event what is wrong with it. */
final class EventParser {
    /** Producers of heartbeats write this, a time in milliseconds, and a closing brace. */
    private static final byte[] HEARTBEAT = "{\"__feature_store_heartbeat__\":".getBytes(StandardCharsets.UTF_8);
    private static final int MOST_DIGITS = 15;

    private final ParserSpec spec;
    private final LongSupplier clock;
    private final MessageFormat format;

    /** Reads the values of the columns, in their order. */
    interface MessageFormat {
        Object[] read(byte[] payload) throws MalformedException;
    }

    /** @param clock microseconds since the epoch */
    EventParser(ParserSpec spec, LongSupplier clock) {
        this.spec = spec;
        this.clock = clock;
        format = spec.isAvro ? new AvroMessages(spec) : new JsonMessages(spec);
    }

    /** Never fails: what cannot be read has a problem. */
    ParsedEvent parse(byte[] payload) {
        Object[] nothing = new Object[spec.names.length];
        Long beat = payload == null ? null : heartbeat(payload);
        if (beat != null) {
            String problem = tooFarAhead(beat);
            return new ParsedEvent(beat, problem == null ? ParsedEvent.HEARTBEAT : problem, nothing);
        }
        try {
            Object[] values = format.read(payload == null ? new byte[0] : payload);
            Long at = (Long) values[spec.eventTime];
            if (at == null) {
                return new ParsedEvent(null, "no event time", nothing);
            }
            String problem = tooFarAhead(at);
            return new ParsedEvent(at, problem, problem == null ? values : nothing);
        } catch (MalformedException malformed) {
            return new ParsedEvent(null, malformed.getMessage(), nothing);
        }
    }

    private String tooFarAhead(long at) {
        long ahead = spec.ahead == Long.MAX_VALUE ? Long.MIN_VALUE : at - clock.getAsLong();
        if (ahead <= spec.ahead) {
            return null;
        }
        Instant time = Instant.ofEpochSecond(Math.floorDiv(at, 1_000_000L), Math.floorMod(at, 1_000_000L) * 1000);
        return "event time " + time + " is " + ahead / 1_000_000 + " s ahead of the clock";
    }

    private static Long heartbeat(byte[] payload) {
        int digits = payload.length - HEARTBEAT.length - 1;
        if (digits < 1 || digits > MOST_DIGITS || payload[payload.length - 1] != '}') {
            return null;
        }
        for (int i = 0; i < HEARTBEAT.length; i++) {
            if (payload[i] != HEARTBEAT[i]) {
                return null;
            }
        }
        long milliseconds = 0;
        for (int i = HEARTBEAT.length; i < payload.length - 1; i++) {
            if (payload[i] < '0' || payload[i] > '9') {
                return null;
            }
            milliseconds = milliseconds * 10 + payload[i] - '0';
        }
        return milliseconds * 1000 > Instants.LAST ? null : milliseconds * 1000;
    }
}
