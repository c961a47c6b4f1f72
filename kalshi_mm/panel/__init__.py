"What people see: tables, texts and the page"
