package featurestore;

import java.nio.charset.StandardCharsets;

/** Rows as bytes that are ordered as the rows are: column by column, NULL first, strings by their UTF-8 bytes. */
final class Canonical {
    private Canonical() {}

    /** Values are Long, Double, Boolean, String or null; FLOATs that are not finite are NULL. */
    static byte[] of(Object[] values) {
        ByteWriter out = new ByteWriter();
        for (Object given : values) {
            Object value = given instanceof Double ? Partial.finite((Double) given) : given;
            out.flag(value != null);
            if (value instanceof Long) {
                big((Long) value ^ Long.MIN_VALUE, out);
            } else if (value instanceof Double) {
                long bits = Double.doubleToRawLongBits((Double) value);
                big(bits < 0 ? ~bits : bits ^ Long.MIN_VALUE, out);
            } else if (value instanceof Boolean) {
                out.flag((Boolean) value);
            } else if (value != null) {
                text(value.toString().getBytes(StandardCharsets.UTF_8), out);
            }
        }
        return out.toBytes();
    }

    private static void big(long value, ByteWriter out) {
        for (int shift = 56; shift >= 0; shift -= 8) {
            out.octet((int) (value >>> shift));
        }
    }

    /** A zero byte is written as 0 1, and the end as 0 0, so that a text is before those that it begins. */
    private static void text(byte[] bytes, ByteWriter out) {
        for (byte each : bytes) {
            out.octet(each);
            if (each == 0) {
                out.octet(1);
            }
        }
        out.octet(0);
        out.octet(0);
    }
}
