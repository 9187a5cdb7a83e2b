package featurestore;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * A string as its UTF-8 bytes, which is also what strings are compared by: String.compareTo orders surrogates wrongly.
 */
public final class Text implements Comparable<Text> {
    private final byte[] bytes;

    public Text(byte[] bytes) {
        this.bytes = bytes;
    }

    public static Text of(String text) {
        return new Text(text.getBytes(StandardCharsets.UTF_8));
    }

    /** Not a copy: do not write into it. */
    public byte[] bytes() {
        return bytes;
    }

    @Override
    public int compareTo(Text other) {
        return Arrays.compareUnsigned(bytes, other.bytes);
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Text && Arrays.equals(bytes, ((Text) other).bytes);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(bytes);
    }

    @Override
    public String toString() {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
