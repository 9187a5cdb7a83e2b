package featurestore;

/** Takes the rows of one entity. */
public interface Rows {
    /**
     * A row of the group.
     *
     * @param featureTimestamp the instant that the row describes, in microseconds
     * @param created when the row was made, in microseconds; of the rows of an entity no two are of the same time
     * @param values of the features in the order of the spec, as {@link Partial#result()} gives them
     */
    void row(long featureTimestamp, long created, Object[] values);
}
