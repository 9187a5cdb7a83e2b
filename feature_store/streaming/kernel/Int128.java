package featurestore;

/** An integer of 128 bits, which a sum of INTs cannot leave: 2^64 of the greatest ones fit. */
record Int128(long high, long low) implements Comparable<Int128> {
    static final Int128 ZERO = new Int128(0, 0);

    static Int128 of(long value) {
        return new Int128(value >> 63, value);
    }

    Int128 plus(long value) {
        return plus(value >> 63, value);
    }

    Int128 plus(Int128 other) {
        return plus(other.high, other.low);
    }

    private Int128 plus(long otherHigh, long otherLow) {
        long sum = low + otherLow;
        long carry = Long.compareUnsigned(sum, low) < 0 ? 1 : 0;
        return new Int128(high + otherHigh + carry, sum);
    }

    /** The value as an INT; null if it does not fit 64 bits. */
    Long toInt() {
        return high == low >> 63 ? low : null;
    }

    @Override
    public int compareTo(Int128 other) {
        int byHigh = Long.compare(high, other.high);
        return byHigh != 0 ? byHigh : Long.compareUnsigned(low, other.low);
    }
}
