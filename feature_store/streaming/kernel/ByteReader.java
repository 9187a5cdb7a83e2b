package featurestore;

import java.util.Arrays;

/** Reads what a {@link ByteWriter} wrote. */
final class ByteReader {
    private final byte[] data;
    private int position;

    ByteReader(byte[] data, int position) {
        this.data = data;
        this.position = position;
    }

    int position() {
        return position;
    }

    byte[] data() {
        return data;
    }

    void seek(int to) {
        position = to;
    }

    int octet() {
        return data[position++] & 0xFF;
    }

    boolean flag() {
        return data[position++] != 0;
    }

    long unsigned() {
        long value = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = data[position++];
            value |= (long) (next & 0x7F) << shift;
            if (next >= 0) {
                return value;
            }
        }
    }

    long signed() {
        long value = unsigned();
        return (value >>> 1) ^ -(value & 1);
    }

    Int128 wide() {
        long high = 0;
        long low = 0;
        for (int shift = 0; ; shift += 7) {
            byte next = data[position++];
            long bits = next & 0x7F;
            if (shift < 64) {
                low |= bits << shift;
            }
            if (shift > 57) {
                high |= shift < 64 ? bits >>> 64 - shift : bits << shift - 64;
            }
            if (next >= 0) {
                long sign = -(low & 1);
                return new Int128(high >>> 1 ^ sign, (low >>> 1 | high << 63) ^ sign);
            }
        }
    }

    double real() {
        long bits = 0;
        for (int i = 0; i < 8; i++) {
            bits = bits << 8 | octet();
        }
        return Double.longBitsToDouble(bits);
    }

    byte[] raw(int length) {
        byte[] found = Arrays.copyOfRange(data, position, position + length);
        position += length;
        return found;
    }

    Object value(ValueType type) {
        return switch (type) {
            case INT, TIMESTAMP -> signed();
            case FLOAT -> real();
            case BOOL -> flag();
            case STRING -> new Text(raw((int) unsigned()));
        };
    }
}
