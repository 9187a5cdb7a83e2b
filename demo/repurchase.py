"""What the demo's model is called, and what it takes; nothing is imported for it."""

NAME = "repurchase"
VIEW = "repurchase@1"
LABEL = "bought_again_30d"
FEATURES = (
    "user_order_count_all_time",
    "user_account_age_days",
    "user_browsing_seconds_sum_90d",
    "user_order_value_mean_90d",
    "user_return_count_all_time",
    "user_return_rate_all_time",
)
"""What the model takes, in its own order, which is not that of the view."""
