package featurestore;

/**
 * What a kernel remembers of all entities together, also when nothing is left of an entity: since when its state is
 * complete. Tiles which a row after this instant does not need may have been dropped, so an event before it is too
 * late, whatever the watermark is after a restore, and however long the lateness has become since.
 */
public interface KeptSince {
    /** Microseconds; Long.MIN_VALUE as long as nothing may have been dropped. */
    long instant();

    /** Moves the instant, which is later than before. */
    void moveTo(long instant);
}
