package featurestore;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.TreeSet;

/** The least hashes of the values, which tell about how many there are: feature_store.compile.distinct_sketch. */
final class LeastHashes extends Partial {
    private static final int MOST = 1024;
    private static final double RANGE = (MOST - 1) * 0x1p60;

    private final TreeSet<Long> hashes = new TreeSet<>();

    @Override
    void add(long at, Object value, Object weight) {
        keep(hash(value instanceof Text text ? text.bytes() : value.toString().getBytes(StandardCharsets.UTF_8)));
    }

    @Override
    void merge(Partial other) {
        ((LeastHashes) other).hashes.forEach(this::keep);
    }

    private void keep(long hash) {
        if (hashes.size() < MOST) {
            hashes.add(hash);
        } else if (hash < hashes.last() && hashes.add(hash)) {
            hashes.pollLast();
        }
    }

    /** The first 60 bits of the MD5. */
    private static long hash(byte[] text) {
        byte[] digest;
        try {
            digest = MessageDigest.getInstance("MD5").digest(text);
        } catch (NoSuchAlgorithmException absent) {
            throw new IllegalStateException("every Java has MD5", absent);
        }
        long bits = 0;
        for (int i = 0; i < Long.BYTES; i++) {
            bits = bits << 8 | digest[i] & 0xFF;
        }
        return bits >>> 4;
    }

    @Override
    void write(ByteWriter out, long origin) {
        out.unsigned(hashes.size());
        long before = 0;
        for (long hash : hashes) {
            out.unsigned(hash - before);
            before = hash;
        }
    }

    @Override
    void read(ByteReader in, long origin) {
        hashes.clear();
        long hash = 0;
        for (long left = in.unsigned(); left > 0; left--) {
            hash += in.unsigned();
            hashes.add(hash);
        }
    }

    @Override
    Object result() {
        return hashes.size() < MOST ? (long) hashes.size() : (long) Math.floor(RANGE / hashes.last());
    }
}
