package featurestore;

/** Where the kernel keeps what it knows of one entity. */
public interface KernelState {
    /** What was put into a slot; null if nothing was. */
    byte[] get(long slot) throws Exception;

    void put(long slot, byte[] bytes) throws Exception;

    void remove(long slot) throws Exception;

    /**
     * Asks for a call of {@link WindowKernel#onTimer} when all rows up to a feature timestamp (microseconds) are
     * final.
     */
    void registerTimer(long featureTimestamp);
}
