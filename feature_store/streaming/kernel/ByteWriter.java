package featurestore;

import java.util.Arrays;

/** Appends numbers and values to a growing array of bytes; {@link ByteReader} reads them. */
final class ByteWriter {
    private byte[] data = new byte[256];
    private int size;

    int size() {
        return size;
    }

    /** The array that is written to, longer than what was written; valid until the next write. */
    byte[] data() {
        return data;
    }

    void clear() {
        size = 0;
    }

    byte[] toBytes() {
        return Arrays.copyOf(data, size);
    }

    void octet(int value) {
        reserve(1);
        data[size++] = (byte) value;
    }

    void flag(boolean value) {
        octet(value ? 1 : 0);
    }

    /** A number that is small and not negative as a rule: seven bits per byte. */
    void unsigned(long value) {
        reserve(10);
        while ((value & ~0x7FL) != 0) {
            data[size++] = (byte) (value | 0x80);
            value >>>= 7;
        }
        data[size++] = (byte) value;
    }

    void signed(long value) {
        unsigned((value << 1) ^ (value >> 63));
    }

    /** As {@link #signed}, of which it is the continuation beyond 64 bits. */
    void wide(Int128 value) {
        reserve(19);
        long sign = value.high() >> 63;
        long high = (value.high() << 1 | value.low() >>> 63) ^ sign;
        long low = value.low() << 1 ^ sign;
        while (high != 0 || (low & ~0x7FL) != 0) {
            data[size++] = (byte) (low | 0x80);
            low = low >>> 7 | high << 57;
            high >>>= 7;
        }
        data[size++] = (byte) low;
    }

    void real(double value) {
        reserve(8);
        long bits = Double.doubleToRawLongBits(value);
        for (int shift = 56; shift >= 0; shift -= 8) {
            data[size++] = (byte) (bits >>> shift);
        }
    }

    void raw(byte[] from, int start, int length) {
        reserve(length);
        System.arraycopy(from, start, data, size, length);
        size += length;
    }

    /** What another writer holds, after its length. */
    void section(ByteWriter other) {
        unsigned(other.size);
        raw(other.data, 0, other.size);
    }

    void value(ValueType type, Object value) {
        switch (type) {
            case INT, TIMESTAMP -> signed((Long) value);
            case FLOAT -> real((Double) value);
            case BOOL -> flag((Boolean) value);
            case STRING -> {
                byte[] bytes = ((Text) value).bytes();
                unsigned(bytes.length);
                raw(bytes, 0, bytes.length);
            }
        }
    }

    private void reserve(int more) {
        if (size + more > data.length) {
            data = Arrays.copyOf(data, Math.max(data.length * 2, size + more));
        }
    }
}
