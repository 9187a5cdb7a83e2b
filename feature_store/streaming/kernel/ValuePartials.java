package featurestore;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Partials that keep values, whenever they happened. */
final class ValuePartials {
    private ValuePartials() {}

    /** The smallest value (sign -1) or the greatest (sign 1). */
    static final class Extreme extends Partial {
        private final ValueType type;
        private final int sign;
        private Object value;

        Extreme(ValueType type, int sign) {
            this.type = type;
            this.sign = sign;
        }

        @Override
        void add(long at, Object other, Object weight) {
            if (value == null || sign * compare(other, value) > 0) {
                value = other;
            }
        }

        @Override
        void merge(Partial other) {
            if (((Extreme) other).value != null) {
                add(0, ((Extreme) other).value, null);
            }
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.flag(value != null);
            if (value != null) {
                out.value(type, value);
            }
        }

        @Override
        void read(ByteReader in, long origin) {
            value = in.flag() ? in.value(type) : null;
        }

        @Override
        Object result() {
            return value;
        }
    }

    /** Different values: how many there are, or all of them in ascending order. */
    static final class Distinct extends Partial {
        private final ValueType type;
        private final boolean listed;
        private final Set<Object> values = new HashSet<>();

        Distinct(ValueType type, boolean listed) {
            this.type = type;
            this.listed = listed;
        }

        @Override
        void add(long at, Object value, Object weight) {
            values.add(value);
        }

        @Override
        void merge(Partial other) {
            values.addAll(((Distinct) other).values);
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.unsigned(values.size());
            for (Object value : values) {
                out.value(type, value);
            }
        }

        @Override
        void read(ByteReader in, long origin) {
            values.clear();
            for (long left = in.unsigned(); left > 0; left--) {
                values.add(in.value(type));
            }
        }

        @Override
        Object result() {
            if (!listed) {
                return (long) values.size();
            }
            return values.isEmpty() ? null : values.stream().sorted(Partial::compare).toArray();
        }
    }

    /** Values with the sums of their weights, or with their numbers of rows. */
    static final class Top extends Partial {
        private final ValueType type;
        private final boolean realWeights;
        private final int limit;
        private final Map<Object, Object> weights = new HashMap<>();

        Top(Spec.Measure measure) {
            this.type = measure.type();
            this.realWeights = measure.weightType() == ValueType.FLOAT;
            this.limit = measure.limit();
        }

        @Override
        void add(long at, Object value, Object weight) {
            Object added = realWeights ? weight : Int128.of(weight == null ? 1L : (Long) weight);
            weights.merge(value, added, this::together);
        }

        @Override
        void merge(Partial other) {
            ((Top) other).weights.forEach((value, weight) -> weights.merge(value, weight, this::together));
        }

        private Object together(Object left, Object right) {
            return realWeights ? (Object) ((Double) left + (Double) right) : ((Int128) left).plus((Int128) right);
        }

        @Override
        void write(ByteWriter out, long origin) {
            out.unsigned(weights.size());
            weights.forEach((value, weight) -> {
                out.value(type, value);
                if (realWeights) {
                    out.real((Double) weight);
                } else {
                    out.wide((Int128) weight);
                }
            });
        }

        @Override
        void read(ByteReader in, long origin) {
            weights.clear();
            for (long left = in.unsigned(); left > 0; left--) {
                weights.put(in.value(type), realWeights ? (Object) in.real() : in.wide());
            }
        }

        @Override
        Object result() {
            if (weights.isEmpty()) {
                return null;
            }
            List<Map.Entry<Object, Object>> ranked = new ArrayList<>(weights.entrySet());
            Comparator<Map.Entry<Object, Object>> heaviest = (a, b) -> compare(b.getValue(), a.getValue());
            ranked.sort(heaviest.thenComparing(Map.Entry::getKey, Partial::compare));
            return ranked.stream().limit(limit).map(Map.Entry::getKey).toArray();
        }
    }
}
