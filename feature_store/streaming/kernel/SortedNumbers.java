package featurestore;

import java.util.Arrays;

/** All numbers, and the one that a share of them lie below, linear between two neighbours. */
final class SortedNumbers extends Partial {
    private final double share;
    private double[] numbers = new double[4];
    private int size;

    /** The share, 0 to 1, that a percentile asks for. */
    SortedNumbers(double share) {
        this.share = share;
    }

    @Override
    void add(long at, Object value, Object weight) {
        reserve(1);
        numbers[size++] = ((Number) value).doubleValue();
    }

    @Override
    void merge(Partial other) {
        SortedNumbers that = (SortedNumbers) other;
        reserve(that.size);
        System.arraycopy(that.numbers, 0, numbers, size, that.size);
        size += that.size;
    }

    private void reserve(int more) {
        if (size + more > numbers.length) {
            numbers = Arrays.copyOf(numbers, Math.max(2 * numbers.length, size + more));
        }
    }

    @Override
    void write(ByteWriter out, long origin) {
        out.unsigned(size);
        for (int i = 0; i < size; i++) {
            out.real(numbers[i]);
        }
    }

    @Override
    void read(ByteReader in, long origin) {
        size = 0;
        int count = (int) in.unsigned();
        reserve(count);
        while (size < count) {
            numbers[size++] = in.real();
        }
    }

    @Override
    Object result() {
        if (size == 0) {
            return null;
        }
        Arrays.sort(numbers, 0, size);
        double place = share * (size - 1);
        double floor = Math.floor(place);
        double low = numbers[(int) floor];
        double high = numbers[(int) Math.ceil(place)];
        return finite(low + (high - low) * (place - floor));
    }
}
