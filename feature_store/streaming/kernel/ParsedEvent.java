package featurestore;

/**
 * A message that was read.
 *
 * @param at the event time in microseconds; null if it is not known
 * @param problem why the message is no event; "heartbeat" for one that only moves time; null for an event
 * @param values of the columns: Long, Double, String, Boolean, and Long for an instant in microseconds
 */
record ParsedEvent(Long at, String problem, Object[] values) {
    static final String HEARTBEAT = "heartbeat";

    /** Whether time may move to the event's: it is an event, or a heartbeat. */
    boolean tellsTime() {
        return problem == null || problem.equals(HEARTBEAT);
    }
}
