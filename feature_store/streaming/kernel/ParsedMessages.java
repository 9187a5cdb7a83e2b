package featurestore;

import java.time.Instant;
import java.util.Arrays;
import org.apache.flink.table.data.StringData;

/**
 * The messages of a thread, each parsed once: the planner calls a function of a message once per column that it
 * reads, and the one that gives the event time besides.
 */
final class ParsedMessages {
    private static final ThreadLocal<ParsedMessages> OF_THREAD = ThreadLocal.withInitial(ParsedMessages::new);

    private String specText = "";
    private EventParser parser;
    private byte[] payload;
    private ParsedEvent event;

    private ParsedMessages() {}

    static ParsedMessages ofThread() {
        return OF_THREAD.get();
    }

    /** The message as an event; the same object for the same message, as long as no other one comes between. */
    ParsedEvent parse(byte[] message, StringData spec) {
        String wanted = spec.toString();
        if (!wanted.equals(specText)) {
            parser = new EventParser(ParserSpec.parse(wanted), ParsedMessages::now);
            specText = wanted;
            event = null;
        }
        if (event == null || message != payload && !Arrays.equals(message, payload)) {
            event = parser.parse(message);
            payload = message;
        }
        return event;
    }

    /** Microseconds since the epoch. */
    static long now() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1000;
    }
}
