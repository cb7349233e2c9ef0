"""What is offered: settings, the mapping table, the catalog made of it, and its Hub form."""
