"""What was decided and why: the plan, the planner's protocol, the budget, explanations."""
