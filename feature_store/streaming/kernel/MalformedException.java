package featurestore;

/** A message is no event of its source; the text says why. Thrown per message, so without a stack trace. */
final class MalformedException extends Exception {
    private static final long serialVersionUID = 1L;

    MalformedException(String problem) {
        super(problem, null, false, false);
    }
}
