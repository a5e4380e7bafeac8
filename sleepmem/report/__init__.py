"""What people see of their nights: plots, a page, figures."""
