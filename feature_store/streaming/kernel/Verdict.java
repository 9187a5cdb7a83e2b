package featurestore;

/** What became of an event. */
public enum Verdict {
    /** It counts; the rows it changes come when they are final. */
    ON_TIME,
    /** It counts; rows that were final before have been written again. */
    CORRECTION,
    /** An event of its id has been counted; this one is not. */
    COPY,
    /** It is beyond the allowed lateness and has changed nothing. */
    TOO_LATE
}
