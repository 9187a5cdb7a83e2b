package featurestore;

/** Types of input values; in Java they are Long, Double, {@link Text}, Boolean, and Long for microseconds. */
public enum ValueType {
    INT,
    FLOAT,
    STRING,
    BOOL,
    TIMESTAMP
}
